import fs from 'node:fs';

/**
 * True when a descriptor is a terminal. `node:tty` takes 5 ms to load, so it is only asked about character devices
 * other than /dev/null: pipes and files are no terminals.
 */
export function isTerminal(fd: number): boolean {
	try {
		const stat = fs.fstatSync(fd);
		if (!stat.isCharacterDevice() || stat.rdev === fs.statSync('/dev/null', { throwIfNoEntry: false })?.rdev) return false;
		return process.getBuiltinModule('node:tty').isatty(fd);
	} catch {
		return false;
	}
}

/**
 * Whether to colour what goes to a descriptor: FORCE_COLOR (not "0") wins, then NO_COLOR (any value but the empty
 * one, no-color.org), then TERM=dumb, then whether it is a terminal.
 */
export function wantsColour(fd: number, env: Readonly<Record<string, string | undefined>> = process.env): boolean {
	const force = env['FORCE_COLOR'];
	if (force !== undefined && force !== '') return force !== '0' && force !== 'false';
	const no = env['NO_COLOR'];
	if ((no !== undefined && no !== '') || env['TERM'] === 'dumb') return false;
	return isTerminal(fd);
}

/** One piece of text in a colour. */
export type Paint = (text: string) => string;

/** The few colours used here; the identity where colours are not wanted. */
export function paints(wanted: boolean): { readonly bold: Paint; readonly dim: Paint; readonly red: Paint; readonly yellow: Paint } {
	const paint =
		(on: number, off: number): Paint =>
		(text) =>
			wanted ? `\u001b[${on}m${text}\u001b[${off}m` : text;
	return { bold: paint(1, 22), dim: paint(2, 22), red: paint(31, 39), yellow: paint(33, 39) };
}
