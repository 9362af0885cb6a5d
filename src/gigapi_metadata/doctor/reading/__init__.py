"""What is asked of servers, files and storages, and nothing decided from it. Nothing is changed,
but for a layer's probe when that is asked for. What can't be read is a fact as well."""
