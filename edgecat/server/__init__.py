"""`edgecat serve`: Cloud Vision's protocol, a plain API and a page. Needs edgecat[serve]."""
