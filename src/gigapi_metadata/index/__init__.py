"""The public classes over a store.

verbs.py holds what an index does once, as steps; sync.py and aio.py the classes that drive them, of
which plans.py has the part about plans. databases.py and values.py have all three in one place.
redis.py, sqlite.py and json.py say how each store is opened.
"""
