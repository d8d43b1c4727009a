"""Numbers from scores: metrics and significance. Knows neither torch nor mlflow."""
