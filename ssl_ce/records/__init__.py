"""Records: the immutable rows that every table is a view of, their store, and the statistics in them."""
