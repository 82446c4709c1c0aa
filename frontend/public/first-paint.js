// Before the first paint: the remembered theme and language, so that nothing flashes.
(function () {
  try {
    var theme = localStorage.getItem('ct.theme');
    var lang = localStorage.getItem('ct.lang');
    if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
    if (lang === 'en' || lang === 'ru') document.documentElement.lang = lang;
  } catch (error) {
    // storage is blocked: the defaults in index.html stand
    void error;
  }
})();
