"""What only the series needs: pipeline, ledger, figures, exercises, preflight, notebooks."""
