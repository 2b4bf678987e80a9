import { classFolderLayout } from './layout.js';

/**
 * CIFAR10-DVS (Li et al., 2017): `CLASS/cifar10_CLASS_N.aedat`, AEDAT 2.0 of a DVS128. There is no official split.
 */
export const cifar10Dvs = classFolderLayout({
  name: 'cifar10-dvs',
  title: 'CIFAR10-DVS',
  source: 'https://doi.org/10.6084/m9.figshare.4724671',
  extensions: ['aedat'],
  classCount: 10,
});
