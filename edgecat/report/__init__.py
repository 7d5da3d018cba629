"""Pages that compare systems and show mistakes, and the plots on them."""
