/**
 * `JSON.parse` for what Python's `json` writes: `Infinity` and `-Infinity` too. diffusers saves
 * `"lambda_min_clipped": -Infinity` in the `scheduler_config.json` of its multistep schedulers.
 *
 * @throws {SyntaxError} as `JSON.parse`; also for `NaN`, which no configuration can mean
 */
export function parsePythonJson(text: string): unknown {
	return JSON.parse(text.replace(/"(?:[^"\\]|\\.)*"|Infinity/gu, (token) => (token === 'Infinity' ? '1e999' : token)));
}
