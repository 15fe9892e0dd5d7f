/** A number as Python's `str` gives a float: what readers of kohya's entries parse. `0.0001`, `1e-05`, `4.0`. */
export function pythonFloat(value: number): string {
	if (!Number.isFinite(value)) return value > 0 ? 'inf' : value < 0 ? '-inf' : 'nan';
	const text = String(value);
	const size = Math.abs(value);
	if (size !== 0 && (size < 1e-4 || size >= 1e16)) {
		const [mantissa = '', exponent = ''] = value.toExponential().split('e');
		const digits = exponent.replace(/^[+-]/, '').padStart(2, '0');
		return `${mantissa}e${exponent.startsWith('-') ? '-' : '+'}${digits}`;
	}
	return Number.isInteger(value) ? `${text}.0` : text;
}

/** `True`, `False`. */
export function pythonBoolean(value: boolean): string {
	return value ? 'True' : 'False';
}
