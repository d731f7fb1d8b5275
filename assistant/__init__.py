"""Everything at serving time: the page, the API, the engines, the store and the registry."""
