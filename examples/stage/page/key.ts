/**
 * What one request is known by when it is sent again, its answer lost. `randomUUID` is missing where a page comes over
 * plain HTTP from another machine.
 */
export const newKey = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (n) =>
    n.toString(16).padStart(2, '0'),
  ).join('');
