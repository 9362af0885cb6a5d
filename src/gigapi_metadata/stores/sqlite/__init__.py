"""The embedded catalog: one SQLite file for all databases and tables of one machine.

schema.sql is the layout, connection.py opens the file and runs transactions; streaming.py is a read
that goes on over several of them. store.py is the store: reading.py and writing.py are its entries,
rows.py how they are kept; queues.py and leases.py are its plans.
"""
