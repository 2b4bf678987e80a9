// The service serves the library's own module under this name.
export { default } from 'uplot';
