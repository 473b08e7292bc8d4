"""Numbers in, statements out: pure statistics on arrays; no images, no files, no index."""
