"""Whether methods predict the same as two seeds of one, against width."""
