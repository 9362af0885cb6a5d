"""The public classes over a store.

verbs.py holds every verb once, as steps; sync.py and aio.py the classes that drive them; redis.py
and sqlite.py say how each store is opened.
"""
