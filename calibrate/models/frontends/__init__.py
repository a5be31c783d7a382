"""One file a model family; :data:`calibrate.models.frontends.base.FRONT_ENDS` lists them."""
