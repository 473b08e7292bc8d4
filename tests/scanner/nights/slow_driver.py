"""`scanner` with shards of four pictures, each of which takes a while: something to interrupt."""

from __future__ import annotations

import sys
import time
from typing import Any

import scanner.pipeline
from scanner.cli import main
from scanner.images import decode_item
from scanner.nights import take
from scanner.records import Item

scanner.pipeline.SHARD_ENTRIES = take.SHARD_ENTRIES = 4


def decode(item: Item, **options: Any) -> Any:
    time.sleep(0.3)
    return decode_item(item, **options)


scanner.pipeline.decode_item = decode

if __name__ == "__main__":
    sys.exit(main())
