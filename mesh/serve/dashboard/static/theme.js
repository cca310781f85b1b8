// Runs before anything is painted: the theme that was chosen, else the system's.
(() => {
  let chosen = "";
  try { chosen = localStorage.getItem("pymesh.theme") || ""; } catch { /* storage is off: the system's */ }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
