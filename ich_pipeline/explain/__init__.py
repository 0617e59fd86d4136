"""Where a prediction comes from: attention maps, the atlas of classic examples, the prediction basis."""
