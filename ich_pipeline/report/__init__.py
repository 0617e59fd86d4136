"""What people look at: case pages, the atlas page, figures, the model card and the page that links them."""
