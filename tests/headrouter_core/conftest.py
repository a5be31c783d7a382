from hypothesis import HealthCheck, settings

# On a busy machine a correct test may be slow; and a red build has to be red again when repeated.
settings.register_profile(
    "headrouter", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("headrouter")
