// SPDX-License-Identifier: PostgreSQL
// Runs before the first paint, so that a chosen theme does not flash the other one.
(function () {
  try {
    var theme = localStorage.getItem('probectl.theme');
    if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
  } catch (e) {
    // Storage may be refused; then the system's preference is used.
  }
})();
