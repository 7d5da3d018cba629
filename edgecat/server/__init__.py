"""`edgecat serve`: the Cloud Vision protocol, a plain API and a page, answered by one Classifier. Needs edgecat[serve]."""
