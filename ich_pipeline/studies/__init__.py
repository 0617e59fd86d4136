"""``ich evaluate``, whole: predictions of any system against any reference."""
