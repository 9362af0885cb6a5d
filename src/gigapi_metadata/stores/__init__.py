"""Where a catalog is kept. `base` says what every store answers; each folder is one kind of store."""
