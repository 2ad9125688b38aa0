-- Upper bound on the share of all images that are flipped, if `flipped` of a random sample of `images`
-- are: Clopper and Pearson (1934), Biometrika 26, 404-413; one-sided and exact. The true share is
-- above it in at most a share `misses` of all samples. It is the greatest share at which so few flips
-- still have a probability above `misses`, found by bisection; 1 - misses ** (1 / images) if there are
-- none. Binomial: of a sample without replacement, so few flips are less likely still (Uhlmann 1966),
-- so the bound holds there too. NULL if a number is not known.
CASE WHEN flipped >= images THEN 1.0 WHEN flipped < images THEN
    list_reduce(
        list_prepend(0.0::DOUBLE, list_transform(range(1, 51), lambda halving: 0.5::DOUBLE ** halving)),
        lambda share, step: CASE
            WHEN list_sum(list_transform(range(flipped + 1), lambda number: exp(
                lgamma(images + 1) - lgamma(number + 1) - lgamma(images - number + 1)
                + number * ln(share + step) + (images - number) * ln(1 - share - step)
            ))) > misses THEN share + step
            ELSE share
        END
    ) + 0.5::DOUBLE ** 50
END
