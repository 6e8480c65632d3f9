"""Register maps that others wrote -> device templates. One module for each kind of map, all give a `Map`."""
