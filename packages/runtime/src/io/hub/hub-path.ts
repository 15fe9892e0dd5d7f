/**
 * True when the path of a file in a repository can be used as a path below a folder on every system: relative, `/` between
 * parts, no `..`, no drive, no backslash, no control character, at most 1,024 characters.
 */
export function isSafeHubPath(path: string): boolean {
	if (!/^[^\p{Cc}\\]{1,1024}$/u.test(path)) return false;
	return path.split('/').every((part) => part !== '' && part !== '.' && part !== '..' && !/^[A-Za-z]:/.test(part));
}
