"""Recipes: everything a run is made of. Those that come with matstream are the .toml files here."""
