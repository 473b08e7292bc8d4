"""Where images, and ready embeddings, come from.  A source never sees an index.

    source = open_source("faces.tar")             # or a folder, *.zip, *.parquet, *.rec, s3://...
    for entry in source.entries(skip=1000): ...   # Item or Reject, always in the same order

Every source describes itself cheaply (`describe`), yields its entries in an order of its own
(`entries`) and may know their number (`count`):

    folder      FolderSource    images as files, sorted by path; also single images and patterns of images
    tar         TarSource       WebDataset or plain, *.tar, *.tar.gz, *.tgz; one pass, nothing is unpacked to disk
    zip         ZipSource       StyleGAN's dataset.zip with its labels, or plain
    parquet     ParquetSource   a column of bytes, or Hugging Face's struct of bytes and path
    recordio    RecordSource    MXNet's *.rec, with or without *.idx; the face-recognition convention
    generated   GeneratedSource images that a generator makes as they are read: generated:GEN.toml?n=300&seed=1
    chain       ChainedSource   several of these, one after the other

Ready embeddings come as blocks of unit rows instead of images (`open_embeddings`):

    npy         NpyEmbeddings       an (n, d) array, ids beside it
    parquet     ParquetEmbeddings   a column of lists of numbers
"""

from __future__ import annotations

from scanner.sources.base import Source
from scanner.sources.chain import ChainedSource
from scanner.sources.choose import open_source, open_sources
from scanner.sources.embedding_rows import EmbeddingRows
from scanner.sources.embeddings import EmbeddingSource, open_embeddings

__all__ = [
    "ChainedSource",
    "EmbeddingRows",
    "EmbeddingSource",
    "Source",
    "open_embeddings",
    "open_source",
    "open_sources",
]
