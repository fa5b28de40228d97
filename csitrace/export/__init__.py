"""Taking a recording elsewhere: one module per format, each a pure function from a chronicle to chunks of bytes."""
