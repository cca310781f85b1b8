"""Where objects come from: the API server or a folder of files. Both deliver the same events, `Listed` among them."""
