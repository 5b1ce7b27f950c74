// Films are fetched when they come near to what is seen; their own handler then starts them, or not where less motion is asked for.
for (const film of document.querySelectorAll(".cell_output video[preload=none]")) {
  new IntersectionObserver(([seen], observer) => {
    if (seen.isIntersecting) {
      film.preload = "auto";
      observer.disconnect();
    }
  }, { rootMargin: "50%" }).observe(film);
}
