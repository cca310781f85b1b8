"""All objects at one moment, and what follows from them; what a result was made from is recorded, never listed."""
