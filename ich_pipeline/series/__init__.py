"""One study: its files grouped into series, judged, ordered, and the one that is read decoded to a volume."""
