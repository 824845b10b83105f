"""From a trained run to what is shipped: techniques make variants, runtimes load them, each is measured."""
