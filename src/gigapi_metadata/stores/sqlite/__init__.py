"""The embedded catalog: one SQLite file for all databases and tables of one machine.

schema.sql is the layout, connection.py opens the file and runs transactions, store.py is the store;
queues.py and leases.py are its plans.
"""
