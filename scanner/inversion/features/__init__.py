"""Data-free inversion of networks, block by block (DCI, Dong et al. 2021, arXiv 2107.06304)."""
