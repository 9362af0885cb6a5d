"""Where a catalog is kept. base.py says what a store answers; each folder is a kind of store."""
