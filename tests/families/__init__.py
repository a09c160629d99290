"""Every class of transformers that one generic tiny configuration builds: captured and compared."""
