"""How mappings are learned: the method, which knows nothing of wireless."""
