"""What a sweep will cost and can conclude: ``plan`` puts it together from the other files here."""
