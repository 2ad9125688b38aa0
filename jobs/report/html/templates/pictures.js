// Fills the pictures of the page. In a site they are loaded when a reader comes near.
"use strict";

(() => {
  function fill(image) {
    pageData.load(image.dataset.of).then((urls) => {
      const url = urls[image.dataset.image];
      if (url) image.src = url;
      else image.remove();
    });
  }

  const near = new IntersectionObserver(
    (entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        near.unobserve(target);
        fill(target);
      }
    },
    { rootMargin: "600px" },
  );

  for (const image of document.querySelectorAll("img[data-image]")) {
    if (pageData.data.parts) fill(image);
    else near.observe(image);
  }
})();
