export function interopPage() {
	return '';
}
