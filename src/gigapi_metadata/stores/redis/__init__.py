"""The catalog on Redis, in GigAPI's own format (FORMAT.md).

keys.py names the keys, documents.py reads and writes what stands in them, scripts.py holds the Lua,
connection.py gets requests to the server and back, store.py is the store.
"""
