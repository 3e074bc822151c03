import { Failure } from '../core/errors.ts';

/** One event of ours is far smaller; a stream that never ends its event must not fill the memory. */
const MAX_EVENT_CHARS = 1 << 20;

/**
 * Reads the event stream format as the HTML standard has it, from pieces cut anywhere. `id` is that of
 * the event's own block, not of an earlier one. Throws when an event grows over a million characters.
 */
export function createParser(
  onEvent: (type: string, data: string, id: string | null) => void,
): (piece: string) => void {
  let rest = '';
  let afterReturn = false;
  let type = '';
  let data = '';
  let id: string | null = null;

  return (piece) => {
    if (!piece) return;
    // A CR may be a line end of its own, or the first half of one that was cut in two.
    rest += afterReturn && piece[0] === '\n' ? piece.slice(1) : piece;
    afterReturn = piece.endsWith('\r');
    // Splitting a long line again with each of its pieces would take quadratic time.
    if (/[\r\n]/.test(piece)) {
      const lines = rest.split(/\r\n?|\n/);
      rest = lines.pop() as string;
      for (const line of lines) {
        const [, field, value = ''] = /^([^:]*):? ?(.*)/s.exec(line) as string[];
        if (!line) {
          if (data) onEvent(type || 'message', data.slice(0, -1), id);
          type = data = '';
          id = null;
        } else if (field === 'data') data += `${value}\n`;
        else if (field === 'event') type = value;
        else if (field === 'id' && !value.includes('\0')) id = value;
      }
    }
    if (rest.length + data.length > MAX_EVENT_CHARS) throw new Failure('protocol');
  };
}
