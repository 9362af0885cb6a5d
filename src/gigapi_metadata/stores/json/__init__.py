"""The local form of GigAPI's catalog: a `metadata.json` in every folder of data files.

places.py says where everything lies, files.py holds the few steps that touch the disk, partition.py
reads and writes one `metadata.json`, queues.py the plans beside it, journal.py makes a change to
several files one step, connection.py runs requests, store.py is the store, values.py the key-value
store.
"""
