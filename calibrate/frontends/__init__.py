"""One file a model family; :data:`calibrate.frontend.FRONT_ENDS` lists them."""
