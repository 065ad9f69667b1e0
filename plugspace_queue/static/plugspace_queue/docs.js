/* Starts Swagger UI on the page of the API's document; all it needs to know stands in the page. */
(() => {
  "use strict";
  const place = document.getElementById("swagger-ui");
  const { document: url, settings, csrfHeader, csrfToken } = place.dataset;

  // A session's changes need the token, and nobody but us may get it.
  function withToken(request) {
    const isOurs = new URL(request.url, location.href).origin === location.origin;
    if (isOurs && ![undefined, "GET"].includes(request.method)) {
      request.headers[csrfHeader] = csrfToken;
    }
    return request;
  }

  SwaggerUIBundle({
    url,
    domNode: place,
    presets: [SwaggerUIBundle.presets.apis],
    layout: "BaseLayout",
    requestInterceptor: withToken,
    ...JSON.parse(settings),
  });
})();
