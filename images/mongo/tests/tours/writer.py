"""Inserts documents until the server dies, printing "ok" after each acknowledgement."""

import os
import sys

from pymongo import MongoClient

# No second try: a write counts only if this very attempt was acknowledged.
client = MongoClient(sys.argv[1], retryWrites=False, serverSelectionTimeoutMS=30000)
log = client.get_default_database().log
while True:
    log.insert_one({"words": "x" * 200})
    os.write(1, b"ok\n")
