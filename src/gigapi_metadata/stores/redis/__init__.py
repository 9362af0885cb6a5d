"""The catalog on Redis, in GigAPI's own format (FORMAT.md).

keys.py names the keys, documents.py reads and writes what stands in them, scripts.py holds the Lua,
connection.py gets requests to the server and back, routing.py finds the node of a cluster for them,
store.py is the store.
"""
